from .changes import load as load
from .years import before as before
