import { describe, expect, it } from 'vitest'
import { parseSearch, stringifySearch } from '../common/search'
import { isFiltered, studiesSearch, studyQuery } from './search'

describe('the study list in the URL', () => {
  it('survives a round trip through the address bar', () => {
    const search = studiesSearch({ q: '12345', modality: 'CT', date_from: '2020-01-31', sort: 'patient', page: '3' })
    expect(studiesSearch(parseSearch(stringifySearch({ ...search })))).toEqual(search)
  })
  it('writes plain text and leaves defaults out', () => {
    expect(stringifySearch({ ...studiesSearch({ q: '007', sort: '-study_date', page: '1' }) })).toBe('?q=007')
  })
  it('leaves out what cannot be meant', () => {
    expect(studiesSearch({ sort: 'password', page: '-2', date_to: '2020-99-99', status: 'lost', unknown: 'x' })).toEqual({})
  })
  it('asks the server for the right page', () => {
    expect(studyQuery({ page: 3 })).toEqual({ sort: '-study_date', limit: 20, offset: 40 })
  })
  it('knows a filter from an order', () => {
    expect(isFiltered({ sort: 'patient', page: 2 })).toBe(false)
    expect(isFiltered({ modality: 'MR' })).toBe(true)
  })
})
