-- What row-retention is measured against: one statement, one transaction.
DELETE FROM public.events WHERE updated_at < now() - interval '7 days';
