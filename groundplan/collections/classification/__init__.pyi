from .linear import ImageClassifier as ImageClassifier
from .linear import Linear as Linear
