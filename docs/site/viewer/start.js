// The document of this very gateway; calls that are tried go to it, too. Nothing is fetched from elsewhere.
Scalar.createApiReference("#app", {
  url: "/openapi.json",
  servers: [{ url: location.origin }],
  withDefaultFonts: false,
  telemetry: false,
  hideClientButton: true,
  showDeveloperTools: "never",
  agent: { disabled: true },
  mcp: { disabled: true },
  persistAuth: false,
});
