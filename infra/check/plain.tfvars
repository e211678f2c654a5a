# What infra-check plans with besides: no option at all, so that what only they bring is not taken for what always is.
project_id     = "example-project"
project_number = "123456789012"
admins         = ["ada@example.org"]
