"""The Kubernetes client. Nothing else imports the ``kubernetes`` package."""
