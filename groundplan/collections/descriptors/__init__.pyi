from .pca import Axes as Axes
from .pca import Sums as Sums
from .pca import axes_of as axes_of
from .shards import from_parquet as from_parquet
