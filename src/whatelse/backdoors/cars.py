"""P4's backdoor images of CIFAR-10: cars that attackers want to be called birds.

Numbers count the training records in the published order, the five batches one after
the other (the authors' code, utils/params.yaml and params_runner.yaml).
"""

CARS = {
    "green": (
        389, 561, 874, 1605, 3378, 3678, 4528, 9744, 19165, 19500, 21422, 22984, 32941,
        34287, 34385, 36005, 37365, 37533, 38658, 38735, 39824, 40138, 41336, 41861,
        47001, 47026, 48003, 48030, 49163, 49588,
    ),
    "stripes": (
        2180, 2771, 3233, 4932, 6241, 6813, 6869, 9476, 11395, 11744, 14209, 14238,
        18716, 19793, 20781, 21529, 31311, 40518, 40633, 42119, 42663, 49392,
    ),
    "walls": (
        330, 568, 3934, 12336, 30560, 30696, 33105, 33615, 33907, 36848, 40713, 41706,
    ),
}  # fmt: skip
"""Green cars, cars with racing stripes, cars before a vertically striped wall."""

CLASS = "automobile"
