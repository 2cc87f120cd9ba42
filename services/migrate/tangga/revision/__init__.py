"""The files of the steps: read strictly, looked at before one is written."""
