"""Benchmarks that ship with the package: how well is a change of environment found?"""
