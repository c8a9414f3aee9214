"""The planner: which exact form of every factor chain a runtime executes fastest, by measurement.

    units -> forms -> costs -> search -> rebuild -> check

One target and one machine at a time: what wins in one runtime loses in another.
"""
