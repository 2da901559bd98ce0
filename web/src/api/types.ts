/** Short names for the objects of the server's OpenAPI document. */
import type { components, operations } from './schema'

type Schemas = components['schemas']

export type Study = Schemas['Study']
export type StudyDetail = Schemas['StudyDetail']
export type Series = Schemas['Series']
export type Instance = Schemas['Instance']
export type BundleFile = Schemas['BundleFile']
export type RevisionCounts = Schemas['RevisionCounts']
export type Tag = Schemas['Tag']
export type Job = Schemas['Job']
export type Conflict = Schemas['Conflict']
export type SetAside = Schemas['SetAside']
export type Stats = Schemas['Statistics']
export type StudyQuery = NonNullable<operations['get_studies_api_v1_imaging_studies_get']['parameters']['query']>
export type Destination = Schemas['Destination']
export type DestinationIn = Schemas['DestinationIn']
export type Rule = Schemas['Rule']
export type RuleIn = Schemas['RuleIn']
export type QueueItem = Schemas['QueueItem']
export type Webhook = Schemas['WebhookState']
export type CreatedWebhook = Schemas['CreatedWebhook']
export type Delivery = Schemas['Delivery']
export type Consumer = Schemas['ConsumerState']
export type FhirPublication = Schemas['FhirPublication']
export type WaitingStudy = Schemas['WaitingStudy']
