"""The one owner of Great Expectations: suites as code, the gate before a commit, Data Docs."""
