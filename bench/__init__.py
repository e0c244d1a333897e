"""The benchmark: this router beside nginx and vllm-router, on one backend, in one run.

phase    one kind of load (2 KB requests, 128 KB requests, paced requests, streams)
front    what stands between load and backend: a proxy under test, or nothing ("direct")
sample   what one front did in one phase of one round
figure   a number of a sample; the table shows medians over the rounds
bar      a figure of the router that is held against the same figure of vllm-router

README.md says how and why it measures so. Standard library only (and uvloop, which the router needs anyway).
"""
