// Reads resources, one a line, and writes for each the array of what npm's `fhir` finds wrong with it.
const { createInterface } = require('node:readline')
const { createRequire } = require('node:module')

const { Fhir } = createRequire(`${process.argv[2]}/`)('fhir')
const fhir = new Fhir()

createInterface({ input: process.stdin }).on('line', (line) => {
  const { messages } = fhir.validate(JSON.parse(line), { errorOnUnexpected: true })
  const errors = messages.filter((each) => ['error', 'fatal'].includes(each.severity))
  console.log(JSON.stringify(errors.map((each) => `${each.location}: ${each.message}`)))
})
