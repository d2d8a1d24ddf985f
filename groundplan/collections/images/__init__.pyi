from .metadata import strip as strip
from .near_duplicates import look as look
from .near_duplicates import split_images as split_images
