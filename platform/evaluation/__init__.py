"""Honest numbers: metrics, intervals, comparison with the floor, calibration, the report and its gate.

Pure functions over numpy arrays; imports nothing of the house and no Django, so the lab and the pages share it.
Faces: `report` (build), `metrics`, `intervals`, `calibration`, `curves`, `abstention`, `occlusion`, `gate`,
`mistakes`.
"""
