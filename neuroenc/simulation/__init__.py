"""The world with known truth: pictures, cortex, files in a dataset's layout, small networks, grades.

It stands above all that it exercises; nothing below imports it.
"""
