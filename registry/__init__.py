"""The model registry: what is registered, whether it can be trusted, and which version is in force.

MLflow reads its environment while it is imported, so its manners are set here, before any module of this package
can import it. What the user has set stays. Nothing is reported to third parties, a registry that is away is noticed
within seconds (MLflow's own defaults wait four minutes), and nothing is printed between the lines of a job.
"""

import os

MLFLOW_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in MLFLOW_MANNERS.items():
    os.environ.setdefault(_name, _value)
