"""The disposable worker: one process, one job, locked before it sees anything that others made.

launch.run (parent) → worker.main (child): lock, self-test, one entry of jobs.JOBS, one result.
"""
