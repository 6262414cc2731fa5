"""Tests of the handover from one process to the next."""
