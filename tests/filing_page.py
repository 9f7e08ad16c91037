"""A record's page as far as filing needs one, while the real one is not merged."""

from flask import Blueprint, render_template_string

from viewer.extensions import db
from viewer.models import WorkRecord
from viewer.office import filing

PAGE = """{% extends "base.html" %}
{% block title %}{{ record | record_name }}{% endblock %}
{% block head %}
<script type="module" src="{{ url_for('static', filename='js/reorder.js') }}"></script>
{% endblock %}
{% block main %}
<h1>{{ record | record_name }}</h1>
{% include "work/_linked.html" %}
{% endblock %}"""


def ensure(app):
    if "work" in app.blueprints:
        return
    bp = Blueprint("work", __name__, url_prefix="/work")

    @bp.get("/<uuid:record_id>")
    def show(record_id):
        record = db.session.get_one(WorkRecord, record_id)
        return render_template_string(PAGE, record=record, links=filing.links_of(record))

    app.register_blueprint(bp)
