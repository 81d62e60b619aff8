"""HTTP/1.1 connections: parsing, limits, time-outs and the order of responses."""
