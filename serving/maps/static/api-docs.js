// The API's description for people. Without what `make vendor` brings, the page's link to it stays.
if (window.SwaggerUIBundle) {
  window.SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", deepLinking: false, validatorUrl: null });
}
