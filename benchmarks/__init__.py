import os

os.environ["VIEWER_ENV"] = "development"  # what is measured talks plain http on loopback
