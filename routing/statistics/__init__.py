"""Inference that stays valid however often one looks: rates, differences of rates, quantiles, sample ratios."""
