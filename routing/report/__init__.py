"""The HTML report of a rollout: `page.render` draws what `data.ReportData` holds, `build` gathers it."""
