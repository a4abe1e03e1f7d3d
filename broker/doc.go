// Package broker is the MQTT edge: it lets devices and apps log in, hands the
// uplinks of devices to Config.Submit and answers them by its verdict, and
// takes messages to the apps and devices that subscribed to them.
//
// Mochi speaks the protocol: it decodes, checks and encodes packets, behind
// listeners, connections, sessions and a delivery of our own (DESIGN.md 6,
// TRAPS.md). Nothing a client publishes is ever routed from here; what
// subscribers get comes from [Broker.Deliver] alone.
//
// The package knows neither SenML nor Redis: what a payload means, and whether
// it was stored, is the verdict's business.
package broker
