"""The run coordinator stands in launch/coordinator.py; this name is for values of charts before 0.2, for one release."""

from orchestration.launch.coordinator import ProfiledRunCoordinator as ProfiledRunCoordinator
