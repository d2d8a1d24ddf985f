from .metadata import strip as strip
from .near_duplicates import hash_image as hash_image
from .near_duplicates import split_images as split_images
