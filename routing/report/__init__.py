"""The HTML report of a rollout: `page.render` draws a `data.ReportData`; `build` completes one from the store."""
