"""The sample pool "worldwide numbers": handwritten numbers 0 to 99, captioned in many languages, with the web's faults.

It stands in for a crawl in demos and tests: skewed, multilingual, partly broken, and made on the spot from a seed.
Its modules need the `sample` extra (scikit-learn, num2words, wordfreq); importing this package alone does not.
"""
