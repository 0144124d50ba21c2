"""What came out, and how sure it is: metrics of attempts, intervals and tests, figures, and attention weights.

Rooms here read the attempts that runs left and return tables, intervals or figures. They know no notebook and train
nothing.
"""
