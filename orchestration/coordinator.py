"""The run coordinator stands in launch/coordinator.py; this name is for values of older charts, one release long."""

from orchestration.launch.coordinator import ProfiledRunCoordinator as ProfiledRunCoordinator
