"""Alerts and dashboard before a real Prometheus: `python -m tests.alerting` (make observe).

stage    one harm done to a running router or its backends, the alerts that it must bring, and its mending
quick    the rules of conf/rules.yml with every time in them shortened by one factor (rules.py), and nothing else
"""
