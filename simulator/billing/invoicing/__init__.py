"""Invoices that are sent instead of charged, and credit notes."""
