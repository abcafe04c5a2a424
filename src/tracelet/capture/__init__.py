"""What a run says of its surroundings without being asked: git, environment, command line, console, the machine."""

from tracelet.capture._surroundings import Surroundings

__all__ = ["Surroundings"]
