"""The webhook: lifecycle events are posted to a URL, signed as Standard Webhooks says.

`signing` has the secrets and makes the signatures, `webhook` posts. Only that needs the extra
`webhook`, and imports it when a webhook is made.
"""
