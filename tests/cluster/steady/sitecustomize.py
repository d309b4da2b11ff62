"""Ask SLURM at a steady interval; on PYTHONPATH, read by each Python as it starts.

The executor waits ten seconds longer after every look that found nothing ended, which
cannot be set: a study of minutes would mostly wait for it.
"""

import sys

if "snakemake" in sys.orig_argv:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    _growing = RemoteExecutor.next_seconds_between_status_checks

    def _steady(self: RemoteExecutor, _: float) -> None:
        settings = self.workflow.executor_settings
        _growing.fset(self, settings.init_seconds_before_status_checks)

    RemoteExecutor.next_seconds_between_status_checks = _growing.setter(_steady)
