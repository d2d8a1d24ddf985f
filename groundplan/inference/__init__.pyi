from .runtime import Runtime as Runtime
from .runtime import load as load
from .sliding_window import predict_canvas as predict_canvas
from .sliding_window import predict_rows as predict_rows
