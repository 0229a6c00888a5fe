"""Thousands of simulated experiments, looked at after every batch: false alarms, and power beside one planned look.

``python -m routing.statistics.simulate --out docs`` writes the tables and the plot of docs/routing-statistics.md.
"""
