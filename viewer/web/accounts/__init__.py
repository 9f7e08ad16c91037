"""Login, accounts, user management and audit log."""

from flask import Blueprint

from viewer.web.accounts import account, audit_log, confirm, factors, second_step, users

bp = Blueprint("accounts", __name__)
for part in (account, second_step, factors, confirm, audit_log, users):
    bp.register_blueprint(part.bp)
