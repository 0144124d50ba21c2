"""What a reader meets: the frame of every notebook, the exercises with their checks, and the views of 09.

Nothing below imports from here, and no result depends on it.
"""
