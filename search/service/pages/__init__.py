"""The pages of the service for the browser, in Plotly Dash on the application of the API."""
