//! The HTTP API of a process that stays: requests become runs and answers. It keeps no clock.
