"""One module per source or family of sources; ``prepare`` imports the one it runs."""

LOADERS = {
    "digits": "whatelse.datasets.loaders.digits:load",
    "location": "whatelse.datasets.loaders.bits:load_location",
    "adult": "whatelse.datasets.loaders.adult:load",
    "mnist": "whatelse.datasets.loaders.mnist:load",
    "cifar10": "whatelse.datasets.loaders.cifar:load_cifar10",
    "cifar100": "whatelse.datasets.loaders.cifar:load_cifar100",
    "retail": "whatelse.datasets.loaders.retail:load",
    "purchase100": "whatelse.datasets.loaders.bits:load_purchase100",
    "texas100": "whatelse.datasets.loaders.bits:load_texas100",
    "faces": "whatelse.datasets.loaders.faces:load",
    "lfw": "whatelse.datasets.loaders.lfw:load",
    "lfw-attributes": "whatelse.datasets.loaders.lfw_attributes:load",
    "utkface": "whatelse.datasets.loaders.utkface:load",
    "facescrub": "whatelse.datasets.loaders.facescrub:load",
    "newsgroups": "whatelse.datasets.loaders.words:load_newsgroups",
    "imdb": "whatelse.datasets.loaders.words:load_imdb",
    "blogs": "whatelse.datasets.loaders.blogs:load",
    "blogs-words": "whatelse.datasets.loaders.blogs:load_words",
    "reddit": "whatelse.datasets.loaders.reddit:load",
    "yelp": "whatelse.datasets.loaders.yelp:load",
    "foursquare": "whatelse.datasets.loaders.foursquare:load",
    "csi": "whatelse.datasets.loaders.csi:load",
    "npz": "whatelse.datasets.loaders.npz:load",
    "table": "whatelse.datasets.loaders.table:load",
    "images": "whatelse.datasets.loaders.images:load",
}
"""Source to ``module:function``; imported when it is run, so that a source's import
closure holds no other source's loader. A table alone: no data set's code holds it
(``sources.DESCRIPTIONS``), or a new source would make all of them anew."""

OWN = ("npz", "table", "images")
"""Sources that are the user's own files and not in the registry."""
