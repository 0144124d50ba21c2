"""The candidate's side of the judge: standard library only, nothing of the project.

These files run in the process that executes generated code. The judge's side imports :mod:`plain` from
here too, so that what one side writes the other reads by one definition.
"""
