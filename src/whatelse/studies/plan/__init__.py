"""What a study costs, before it is run: jobs, hours, memory, disk, and precision."""
