// Package auth knows who a device or an app is, and whether a message is its own.
//
// Devices and apps live in Redis, in a [Registry]; a bounded cache in the process answers for the devices that are
// talking. For an uplink use [Registry.VerifyToken] (a message token came with it) or [Registry.Seal] (its MQTT session
// has logged in); for an MQTT CONNECT [Registry.VerifyLogin] or [Registry.AppLogin]; for an API call
// [Registry.AppByKey]. All of them say who it is and nothing about what he wants: paths, topics, networks and packs are
// their callers' affair.
package auth
