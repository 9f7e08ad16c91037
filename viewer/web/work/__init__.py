"""Work records (quotes, appointments, invoices), links of files to them, evidence snapshots."""

from flask import Blueprint

from viewer.office import filing, money
from viewer.office import records as work_records
from viewer.web.work import evidence, linking, records, unfiled, wording

bp = Blueprint("work", __name__)
for part in (evidence, linking, records, unfiled):
    bp.register_blueprint(part.bp)

for show in (wording.counted, wording.these, wording.record_facts, wording.is_overdue,
             wording.is_past):  # fmt: skip
    bp.add_app_template_filter(show)
bp.add_app_template_filter(filing.name_of, "record_name")
bp.add_app_template_filter(money.dollars, "money")
bp.add_app_template_filter(work_records.describe, "described")
bp.add_app_template_global(wording.page_of, "page_of_record")
