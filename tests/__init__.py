"""Tests of tflitekit."""
