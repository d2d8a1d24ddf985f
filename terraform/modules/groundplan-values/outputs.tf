output "values" {
  value       = yamlencode(local.values)
  description = "values.yaml of the chart"
}

output "settings" {
  value = join("\n", [for section, keys in local.toml : join("\n", concat(
    ["[${section}]"], [for key, value in keys : "${key} = ${jsonencode(value)}"], [""],
  ))])
  description = "Sections for groundplan.toml of a project that `groundplan init` made"
}
